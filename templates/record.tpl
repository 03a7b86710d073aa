% rebase('layout.tpl')
<div class="head">
  <div>
    <h1><bdi>{{page.title}}</bdi></h1>
% if page.standing:
    <p class="standing"><span class="pill {{page.standing.badge}}"><bdi>{{page.standing.title}}</bdi></span>
%   if page.standing.since:
      <span class="note"><bdi>{{page.standing.since}}</bdi></span>
%   end
    </p>
% end
  </div>
% if page.edit_href or page.delete_action or page.history_href:
  <div class="tools">
%   if page.history_href:
    <a class="button" href="{{page.history_href}}">{{t("history.title")}}</a>
%   end
%   if page.edit_href:
    <a class="button" href="{{page.edit_href}}">{{t("record.edit")}}</a>
%   end
%   if page.delete_action:
%     include('_delete.tpl', action=page.delete_action, what=page.title)
%   end
  </div>
% end
</div>
% if page.standing:
%   if page.standing.alert:
<div class="notice bad" role="alert" tabindex="-1"><p><bdi>{{page.standing.alert}}</bdi></p></div>
%   end
%   if page.standing.comment:
<blockquote class="said"><bdi>{{page.standing.comment}}</bdi></blockquote>
%   end
{{!page.standing.move}}
% end
% for group in page.groups:
%   if group.title:
<h2><bdi>{{group.title}}</bdi></h2>
%   end
%   include('_facts.tpl', fields=group.fields)
% end
% if page.meta:
<dl class="meta">
%   for item in page.meta:
  <div><dt>{{item.title}}</dt><dd><bdi>{{item.text}}</bdi></dd></div>
%   end
</dl>
% end
% if page.thread:
<section class="narrow" aria-labelledby="comments">
<h2 id="comments">{{t("comments.title")}}</h2>
%   include('_comments.tpl', thread=page.thread)
</section>
% end
% if page.nearby:
<nav class="nearby" aria-label="{{t("record.nearby")}}">
%   for one in page.nearby:
  <a class="{{one.rel}}" rel="{{one.rel}}" href="{{one.href}}"><span>{{t("record." + one.rel)}}</span> <bdi>{{one.called}}</bdi></a>
%   end
</nav>
% end
% if page.back_href:
<p class="back"><a href="{{page.back_href}}">{{t("record.back")}}</a></p>
% end
