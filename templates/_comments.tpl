% # A thread of comments, and a box for another one. Wants: thread.
% if thread.earlier_href:
<p><a href="{{thread.earlier_href}}">{{t("comments.earlier")}}</a></p>
% end
% if thread.items:
<ol class="thread">
%   for one in thread.items:
  <li id="c-{{one.id}}">
    <p class="note"><bdi class="by">{{one.who}}</bdi>\\
%     if one.at:
, <time datetime="{{one.iso}}">{{one.at}}</time>\\
%     end
</p>
    <p class="text"><bdi>{{one.text}}</bdi></p>
  </li>
%   end
</ol>
% else:
<p class="note">{{t("comments.none")}}</p>
% end
% if thread.alert:
<div class="notice bad" role="alert" tabindex="-1"><p><bdi>{{thread.alert}}</bdi></p></div>
% end
% if thread.may_add:
<form class="form" method="post" action="{{thread.action}}">
% include('_token.tpl')
  <div class="field">
    <label for="comment-text">{{t("comments.label")}}</label>
    <textarea id="comment-text" name="text" rows="3" maxlength="{{thread.most}}" required dir="auto">{{thread.typed}}</textarea>
  </div>
  <div class="actions"><button class="button">{{t("comments.add")}}</button></div>
</form>
% end
