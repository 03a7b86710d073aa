% # Entries whose names are taken where they are to go, and what is to be done with them.
<form class="form several-asked" method="post" action="{{page.action}}">
% include('_token.tpl')
  <input type="hidden" name="do" value="{{page.what}}">
  <input type="hidden" name="to" value="{{page.to}}">
  <p>{{!t.html("files.clash", folder=t.tag("strong", page.way))}}</p>
% if page.may_replace:
  <p class="help">{{t("files.clash_help")}}</p>
% end
% include('_entries.tpl', entries=page.conflicts)
  <div class="actions">
% if page.may_replace:
    <button class="button" name="clash" value="replace">{{t("uploaded.replace")}}</button>
% end
    <button class="button solid" name="clash" value="both">{{t("uploaded.keep")}}</button>
    <a class="button" href="{{page.back_href}}">{{t("files.skip")}}</a></div>
</form>
