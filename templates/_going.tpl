% # What there was no time for in one request: the same button goes on with it.
<form class="form going" method="post" action="{{page.action}}">
% include('_token.tpl')
  <input type="hidden" name="do" value="{{page.what}}">
  <input type="hidden" name="id" value="{{page.going.boxes}}">
  <input type="hidden" name="next" value="{{page.going.next}}">
% if page.what == "delete":
  <input type="hidden" name="sure" value="1">
% else:
  <input type="hidden" name="to" value="{{page.going.to}}">
  <input type="hidden" name="clash" value="{{page.going.clash}}">
% end
  <p class="notice" role="status">{{t("files.going_on")}}</p>
% if page.going.so_far:
  <p>{{t("files.going_so_far", n=page.going.so_far)}}</p>
% end
  <input type="hidden" name="so_far" value="{{page.going.so_far}}">
  <ul>
% for name in page.going.names:
    <li><bdi>{{name}}</bdi></li>
% end
% if page.going.more > 0:
    <li>{{t("files.going_more", n=page.going.more)}}</li>
% end
  </ul>
  <div class="actions"><button class="button solid">{{t("files.go_on")}}</button></div>
</form>
